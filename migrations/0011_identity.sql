-- Names the store, also in its backups: a backup of another store shows by it.
alter table registry add column identity text not null default '';
update registry set identity = lower(hex(randomblob(16)));
