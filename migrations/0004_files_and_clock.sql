-- Drawn anew at each start, in the file itself and not in its log: a log of another file shows by it.
alter table registry add column incarnation integer not null default 0;
-- Counts the times it was tried whether something can be stored.
alter table registry add column probes integer not null default 0;
-- The clock of the last start: which boot of the machine, how long it had run, and the moment that this was taken for.
alter table registry add column boot text not null default '';
alter table registry add column boot_ms integer not null default 0;
alter table registry add column started_ms integer not null default 0;
