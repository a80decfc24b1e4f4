{{ config(materialized='materialized_view', indexes=[{'columns': ['customer']}]) }}
select customer, sum(amount) as total, count(*) as orders from {{ ref('order_lines') }} group by customer
