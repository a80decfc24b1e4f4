{{ config(materialized='table') }}
select * from {{ ref('spent') }} where total > 15
