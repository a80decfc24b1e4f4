-- Orders from an application, customers from its database by Debezium; revenue by country goes to another topic.

create source customer (id bigint primary key, name varchar, country varchar)
  with (
    connector = 'kafka',
    topic = 'shop.public.customer',
    properties.bootstrap.server = 'broker:9092'
  ) format debezium encode json;

create source orders (id bigint, customer bigint, amount numeric(10,2), at timestamptz)
  with (
    connector = 'kafka',
    topic = 'orders',
    properties.bootstrap.server = 'broker:9092'
  ) format plain encode json;

-- An order may arrive twice: the first one of an id counts.
create materialized view placed_order as
  select distinct on (id) * from orders order by id, at;

create materialized view revenue as
  select country, count(*) as orders, sum(amount) as total
  from placed_order join customer on customer.id = placed_order.customer
  group by country;

create sink revenue_out from revenue
  with (
    connector = 'kafka',
    topic = 'revenue',
    properties.bootstrap.server = 'broker:9092',
    primary_key = 'country'
  ) format upsert encode json;
