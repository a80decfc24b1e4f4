-- A source over the producer's topic and a view that follows it.
create source clicks (user_id bigint, page varchar, at timestamptz)
  with (
    connector = 'kafka',
    topic = 'clicks',
    properties.bootstrap.server = 'kafka:9092',
    scan.startup.mode = 'earliest'
  ) format plain encode json;

create materialized view clicks_per_page as
  select page, count(*) as clicks, count(distinct user_id) as users, max(at) as latest
  from clicks
  group by page;
