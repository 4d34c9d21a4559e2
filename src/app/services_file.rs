//! Reads the services of a file: `[[services]]` with their instances.
//!
//! A service with one instance has its configuration beside its name, a service with more has `[[services.instances]]`.
//! Nothing is decided about the registry here: a file that is read may still be refused there. Invariant: every fault
//! names the line of the entry that has it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::FileFault;
use crate::domain::{Config, Error, InstanceName, ServiceName};
use crate::registry::commands::ListedInstance;
use crate::registry::instance_config::InstanceConfig;

/// An instance of a file, with its place there.
#[derive(Clone, Debug)]
pub(super) struct PlacedInstance {
    /// The instance.
    pub(super) listed: ListedInstance,
    /// The line on which it begins, from 1.
    pub(super) line: usize,
}

/// The key of the list of services.
const SERVICES: &str = "services";
/// The key of the list of the instances of a service.
const INSTANCES: &str = "instances";
/// The key of the name of a service or an instance.
const NAME: &str = "name";

/// Reads the services of the configuration file, which has other sections too.
///
/// # Errors
/// The first fault.
pub(super) fn read_among_others(text: &str) -> Result<Vec<PlacedInstance>, FileFault> {
    FileReader { text }.services(document(text)?)
}

/// Reads a file that has services alone.
///
/// # Errors
/// The first fault. An empty file is one, because it may be about to be written.
pub(super) fn read_alone(text: &str) -> Result<Vec<PlacedInstance>, FileFault> {
    let reader = FileReader { text };
    if text.trim().is_empty() {
        return Err(reader.fault(0..0, "the file is empty; delete it if its services are to go"));
    }
    let document = document(text)?;
    if let Some(other) = document.keys().find(|key| key.get_ref() != SERVICES) {
        let words = format!("there is no `{}` here; a file of services has [[services]] alone", other.get_ref());
        return Err(reader.fault(other.span(), &words));
    }
    reader.services(document)
}

fn document(text: &str) -> Result<DeTable<'_>, FileFault> {
    DeTable::parse(text).map(Spanned::into_inner).map_err(|error| FileFault::of(text, &error, 0))
}

/// The text of a file, for the places of faults.
#[derive(Clone, Copy)]
struct FileReader<'a> {
    text: &'a str,
}

impl<'a> FileReader<'a> {
    fn services(self, mut document: DeTable<'a>) -> Result<Vec<PlacedInstance>, FileFault> {
        let mut instances = Vec::new();
        if let Some(services) = document.remove(SERVICES) {
            for service in self.list(services, "[[services]]")? {
                self.service(service, &mut instances)?;
            }
        }
        let mut lines = BTreeMap::new();
        for PlacedInstance { listed: ListedInstance { service, instance, .. }, line } in &instances {
            if let Some(first) = lines.insert((service, instance), *line) {
                let words = format!("{service}/{instance} stands on line {first} too; give each instance its own name");
                return Err(FileFault { line: *line, column: 1, words });
            }
        }
        Ok(instances)
    }

    fn service(self, entry: Spanned<DeValue<'a>>, instances: &mut Vec<PlacedInstance>) -> Result<(), FileFault> {
        let span = entry.span();
        let mut table = self.table(entry, "[[services]]")?;
        let Some(name) = table.remove(NAME) else {
            return Err(self.fault(span, "`name` is missing here; add a line name = \"…\""));
        };
        let service = self.name(&name, ServiceName::parse)?;
        let Some(several) = table.remove(INSTANCES) else {
            let instance = self.named_alike(&service, &span)?;
            instances.push(self.instance(service, instance, span, table)?);
            return Ok(());
        };
        if let Some(other) = table.keys().next() {
            let words = format!("`{}` stands beside instances; write it in [[services.instances]]", other.get_ref());
            return Err(self.fault(other.span(), &words));
        }
        for entry in self.list(several, "[[services.instances]]")? {
            let span = entry.span();
            let mut table = self.table(entry, "[[services.instances]]")?;
            let instance = match table.remove(NAME) {
                Some(name) => self.name(&name, InstanceName::parse)?,
                None => self.named_alike(&service, &span)?,
            };
            instances.push(self.instance(service.clone(), instance, span, table)?);
        }
        Ok(())
    }

    /// Returns the name of an instance that has none of its own: that of its service.
    fn named_alike(self, service: &ServiceName, span: &Range<usize>) -> Result<InstanceName, FileFault> {
        InstanceName::parse(service.as_str()).map_err(|error| self.fault(span.clone(), &error.to_string()))
    }

    fn instance(
        self,
        service: ServiceName,
        instance: InstanceName,
        span: Range<usize>,
        table: DeTable<'a>,
    ) -> Result<PlacedInstance, FileFault> {
        let value = Spanned::new(span.clone(), DeValue::Table(table));
        let config = InstanceConfig::deserialize(ValueDeserializer::from(value))
            .map_err(|error| FileFault::of(self.text, &error, span.start))?;
        // A field that is missing, or does not go with another one.
        config.resolve(&Config::default(), 1).map_err(|error| self.fault(span.clone(), &error.to_string()))?;
        let (line, _) = crate::config::place(self.text, span.start);
        Ok(PlacedInstance { listed: ListedInstance { service, instance, config: Arc::new(config) }, line })
    }

    fn name<T>(self, value: &Spanned<DeValue<'a>>, parse: fn(&str) -> Result<T, Error>) -> Result<T, FileFault> {
        let span = value.span();
        match value.get_ref().as_str() {
            Some(text) => parse(text).map_err(|error| self.fault(span, &error.to_string())),
            None => Err(self.fault(span, "a name is a text in quotes: name = \"shop\"")),
        }
    }

    fn list(self, value: Spanned<DeValue<'a>>, form: &str) -> Result<Vec<Spanned<DeValue<'a>>>, FileFault> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Array(list) => Ok(list.into_iter().collect()),
            _ => Err(self.fault(span, &format!("write {form}, with two brackets"))),
        }
    }

    fn table(self, value: Spanned<DeValue<'a>>, form: &str) -> Result<DeTable<'a>, FileFault> {
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(table) => Ok(table),
            _ => Err(self.fault(span, &format!("write {form} on a line of its own, and its values below"))),
        }
    }

    fn fault(self, span: Range<usize>, words: &str) -> FileFault {
        let (line, column) = crate::config::place(self.text, span.start);
        FileFault { line, column, words: words.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let read = read_alone(text).unwrap();
        read.iter()
            .map(|placed| format!("{}/{} {}", placed.listed.service, placed.listed.instance, placed.line))
            .collect()
    }

    #[test]
    fn a_service_has_its_configuration_beside_its_name_or_in_its_instances() {
        let text = "[[services]]\nname = \"shop\"\nbackend = \"http://127.0.0.1:3000\"\ndomains = [\"shop.example\"]\n\n\
                    [[services]]\nname = \"blog\"\n[[services.instances]]\nname = \"blog-1\"\n\
                    backend = \"http://127.0.0.1:3001\"\ndomains = [\"blog.example\"]\noptions = { timeout = \"5s\", retries = 2 }\n\
                    [[services.instances]]\nname = \"blog-2\"\n[[services.instances.routes]]\n\
                    backend = \"http://127.0.0.1:3002\"\ndomains = [\"blog.example\"]\n";
        assert_eq!(names(text), ["shop/shop 1", "blog/blog-1 8", "blog/blog-2 13"]);
        assert!(names("# nothing yet\n").is_empty());
        assert_eq!(read_among_others(&format!("[log]\nlevel = \"info\"\n{text}")).unwrap().len(), 3);
        assert!(read_among_others("").unwrap().is_empty());
    }

    #[test]
    fn a_fault_names_its_line_and_the_right_form() {
        let good = "[[services]]\nname = \"shop\"\nbackend = \"http://127.0.0.1:3000\"\ndomains = [\"shop.example\"]\n";
        for (text, line, words) in [
            ("", 1, "the file is empty"),
            ("[services]\nname = \"shop\"\n", 1, "write [[services]], with two brackets"),
            ("services = 1\n", 1, "write [[services]], with two brackets"),
            ("services = [1]\n", 1, "write [[services]] on a line of its own"),
            ("[[services]]\nbackend = \"http://a\"\n", 1, "`name` is missing here"),
            ("[[services]]\nname = 1\n", 2, "a name is a text in quotes"),
            ("[[services]]\nname = \"a b\"\n", 2, "no spaces"),
            ("[[services]]\nname = \"shop\"\n", 1, "backend: is missing"),
            ("[[services]]\nname = \"shop\"\nbackend = \"127.0.0.1:3000\"\n", 3, "must begin with http://"),
            ("[[services]]\nname = \"shop\"\nbackend = http://a\n", 3, "write the value in quotes"),
            ("[[services]]\nname = \"shop\"\nbackend = \"http://a\"\ndomain = [\"a\"]\n", 4, "did you mean `domains`?"),
            (
                "[[services]]\nname = \"shop\"\nbackend = \"http://a\"\ndomains = \"a\"\n",
                4,
                "write a list: domains = [\"a\"]",
            ),
            ("[log]\nlevel = \"info\"\n", 1, "there is no `log` here; a file of services has [[services]] alone"),
            (&format!("{good}[[services.instances]]\nname = \"one\"\n"), 3, "`backend` stands beside instances"),
            (&format!("{good}options = {{ tiemout = \"1s\" }}\n"), 5, "timeout"),
            (&format!("{good}{good}"), 5, "shop/shop stands on line 1 too; give each instance its own name"),
        ] {
            let fault = read_alone(text).unwrap_err();
            assert_eq!(fault.line, line, "{text}: {fault:?}");
            assert!(fault.words.contains(words), "{text}: {fault:?}");
        }
    }
}
