-- Which routes are in maintenance, an entry a row.
create table maintenance (
    session integer not null,
    route   integer not null, -- 1 for r1; 0 for ALL
    page    text, -- what is shown meanwhile; null: the built-in page
    entered integer, -- null: the route left while ALL stays
    primary key (session, route)
) strict, without rowid;

insert into maintenance (session, route, page, entered)
select session.key, case entry.key when 'ALL' then 0 else cast(substr(entry.key, 2) as integer) end,
    entry.value ->> 'page', entry.value ->> 'entered'
from session, json_each(session.maintenance) as entry;

alter table session drop column maintenance;
