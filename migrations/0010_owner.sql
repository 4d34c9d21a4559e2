-- Who holds an instance: session, operator, or file: and the name of the configuration file.
alter table session add column owner text not null default 'session';
