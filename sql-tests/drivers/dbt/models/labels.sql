{{ config(materialized='ephemeral') }}
select customer, upper(customer) as label from {{ ref('spent') }}
