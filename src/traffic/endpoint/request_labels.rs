//! Counts of requests by the words for them: methods, status codes, and the reasons of refusals.
//!
//! Invariant: no word is a client's own, so that the number of words has a bound.

use http::Method;

use super::status_label::StatusLabel;

/// A method, or `_OTHER` for one that is not well known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum MethodLabel {
    #[default]
    Other,
    Connect,
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
    Trace,
}

/// The number of methods.
const METHODS: usize = MethodLabel::ALL.len();

impl MethodLabel {
    /// All methods, each at its own index.
    pub const ALL: [Self; 10] = [
        Self::Other,
        Self::Connect,
        Self::Delete,
        Self::Get,
        Self::Head,
        Self::Options,
        Self::Patch,
        Self::Post,
        Self::Put,
        Self::Trace,
    ];

    /// Returns the word for a method.
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::HEAD => Self::Head,
            Method::PUT => Self::Put,
            Method::DELETE => Self::Delete,
            Method::PATCH => Self::Patch,
            Method::OPTIONS => Self::Options,
            Method::CONNECT => Self::Connect,
            Method::TRACE => Self::Trace,
            _ => Self::Other,
        }
    }

    /// Returns the method as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Other => "_OTHER",
            Self::Connect => "CONNECT",
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Trace => "TRACE",
        }
    }
}

/// Requests by status code and method. A backend answers with a few different codes, so a list is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts(Vec<CodeCounts>);

/// The requests with one status code, by method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CodeCounts {
    code: u16,
    by_method: [u64; METHODS],
}

impl StatusCounts {
    /// Counts a request.
    pub(super) fn count(&mut self, code: u16, method: MethodLabel) {
        // Every method has an index in the array.
        self.of(code).by_method[method as usize] += 1;
    }

    /// Adds other counts.
    pub(super) fn add(&mut self, other: &Self) {
        for CodeCounts { code, by_method } in &other.0 {
            let sums = self.of(*code).by_method.iter_mut();
            sums.zip(by_method).for_each(|(sum, count)| *sum += count);
        }
    }

    fn of(&mut self, code: u16) -> &mut CodeCounts {
        let at = self.0.iter().position(|known| known.code == code).unwrap_or_else(|| {
            self.0.push(CodeCounts { code, by_method: [0; METHODS] });
            self.0.len() - 1
        });
        // The entry was found, or has just been added.
        &mut self.0[at]
    }

    /// Returns the number of requests of each status code.
    pub(super) fn by_code(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().map(|known| (known.code, known.by_method.iter().sum()))
    }

    /// Returns the numbers of requests that are not 0, with the status codes as metrics name them.
    pub fn by_label(&self) -> impl Iterator<Item = (MethodLabel, StatusLabel, u64)> {
        let mut labelled: Vec<(StatusLabel, [u64; METHODS])> = Vec::with_capacity(self.0.len());
        for CodeCounts { code, by_method } in &self.0 {
            let label = StatusLabel::of(*code);
            match labelled.iter_mut().find(|(known, _)| *known == label) {
                Some((_, sums)) => sums.iter_mut().zip(by_method).for_each(|(sum, count)| *sum += count),
                None => labelled.push((label, *by_method)),
            }
        }
        labelled.into_iter().flat_map(|(label, by_method)| {
            let counted = MethodLabel::ALL.into_iter().zip(by_method).filter(|(_, count)| *count > 0);
            counted.map(move |(method, count)| (method, label, count))
        })
    }

    /// Returns the numbers of requests that are not 0.
    pub fn iter(&self) -> impl Iterator<Item = (MethodLabel, u16, u64)> {
        self.0.iter().flat_map(|CodeCounts { code, by_method }| {
            let counted = MethodLabel::ALL.into_iter().zip(by_method).filter(|(_, count)| **count > 0);
            counted.map(|(method, count)| (method, *code, *count))
        })
    }
}

/// Refusals by reason. There are few reasons, so a list is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasonCounts(Vec<(&'static str, u64)>);

impl ReasonCounts {
    /// Counts refusals for a reason.
    pub fn count(&mut self, reason: &'static str, count: u64) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, counted)) => *counted += count,
            None => self.0.push((reason, count)),
        }
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self) {
        other.iter().for_each(|(reason, count)| self.count(reason, count));
    }

    /// Returns the reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_a_backend_makes_up_have_no_names_of_their_own() {
        let mut counts = StatusCounts::default();
        for method in MethodLabel::ALL {
            (0..1000).for_each(|code| counts.count(code, method));
        }
        let labelled: Vec<_> = counts.by_label().collect();
        assert_eq!(labelled.len(), (63 + 5 + 1) * METHODS);
        assert_eq!(labelled.iter().map(|(.., count)| count).sum::<u64>(), 10_000, "all requests are counted");
        assert!(labelled.contains(&(MethodLabel::Get, StatusLabel::Code(200), 1)));
        assert!(labelled.contains(&(MethodLabel::Get, StatusLabel::Class(2), 90)));
    }

    #[test]
    fn every_method_is_at_its_own_index_and_reads_back() {
        for (index, label) in MethodLabel::ALL.into_iter().enumerate() {
            assert_eq!(label as usize, index);
            let method = Method::from_bytes(label.as_str().as_bytes()).unwrap();
            assert_eq!(MethodLabel::of(&method), label);
        }
        assert_eq!(MethodLabel::of(&Method::from_bytes(b"PROPFIND").unwrap()), MethodLabel::Other);
    }
}
