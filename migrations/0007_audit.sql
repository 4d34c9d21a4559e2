-- What changed, by whom, and which way it came. Times are those of the system clock.
create table audit (
    sequence   integer primary key,
    at         integer not null,
    action     text not null, -- registered, applied, …
    service    text, -- null: the server itself
    instance   text,
    actor_kind text not null, -- session, operator or server
    actor      text not null,
    interface  text not null, -- pipe, grpc, rest or server
    address    text,
    revision   integer, -- of the session, after the change
    details    text not null -- a JSON object
) strict;
