{{ config(materialized='incremental', unique_key='id') }}
select id, amount, ordered_at from {{ ref('order_lines') }}
{% if is_incremental() %} where id >= (select max(id) from {{ this }}) {% endif %}
