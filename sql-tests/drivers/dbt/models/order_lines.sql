{{ config(materialized='view') }}
select id, customer, amount, ordered_at from {{ ref('orders') }}
