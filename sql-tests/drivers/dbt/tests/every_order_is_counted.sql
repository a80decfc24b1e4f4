select 1 where (select sum(orders) from {{ ref('spent') }}) <> (select count(*) from {{ ref('orders') }})
