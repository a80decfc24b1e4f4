{{ config(materialized='table') }}
select label, total from {{ ref('labels') }} join {{ ref('spent') }} using (customer)
