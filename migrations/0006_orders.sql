-- Whether an operator ordered it: 1 outlasts the session, for the next one of the instance.
alter table session add column drain_by_operator integer not null default 0;
alter table maintenance add column by_operator integer not null default 0;
