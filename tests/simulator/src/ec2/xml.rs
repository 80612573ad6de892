//! Owns the XML of the answers.

use std::fmt::{Display, Write as _};

use jiff::Timestamp;
use quick_xml::escape::partial_escape;

use crate::world::Tags;

/// An XML text that grows.
#[derive(Debug, Default)]
pub(crate) struct Xml(String);

impl Xml {
    /// A document whose root is `root`, without a namespace: EC2's errors have none.
    pub(crate) fn document(root: &str) -> Self {
        Self(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>"))
    }

    /// The answer to `action`.
    pub(crate) fn answer(action: &str, request_id: &str) -> Self {
        let mut xml = Self(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <{action}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">"
        ));
        xml.text("requestId", request_id);
        xml
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// Closes the root and gives the text.
    pub(crate) fn finish(mut self, root: &str) -> String {
        self.0.push_str(&format!("</{root}>\n"));
        self.0
    }

    /// Adds what another text holds.
    pub(crate) fn append(&mut self, other: &Self) {
        self.0.push_str(&other.0);
    }

    /// `<name>value</name>`
    pub(crate) fn text(&mut self, name: &str, value: impl Display) {
        self.open(name);
        let start = self.0.len();
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
        // Little has to be escaped, and looking for it by the byte is quicker than escaping.
        if self.0.as_bytes()[start..].iter().any(|byte| matches!(byte, b'<' | b'>' | b'&')) {
            let escaped = partial_escape(&self.0[start..]).into_owned();
            self.0.replace_range(start.., &escaped);
        }
        self.close(name);
    }

    fn open(&mut self, name: &str) {
        self.0.push('<');
        self.0.push_str(name);
        self.0.push('>');
    }

    fn close(&mut self, name: &str) {
        self.0.push_str("</");
        self.0.push_str(name);
        self.0.push('>');
    }

    /// The same if there is a value, nothing otherwise.
    pub(crate) fn maybe(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// The same if the text is not empty.
    pub(crate) fn unless_empty(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.text(name, value);
        }
    }

    /// A moment, with milliseconds.
    pub(crate) fn moment(&mut self, name: &str, value: Timestamp) {
        self.text(name, moment(value));
    }

    /// `<name>…</name>`
    pub(crate) fn group(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.open(name);
        fill(self);
        self.close(name);
    }

    /// `<name><item>…</item>…</name>`
    pub(crate) fn items<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, each: impl Fn(&mut Self, T)) {
        self.group(name, |xml| {
            for item in items {
                xml.group("item", |xml| each(xml, item));
            }
        });
    }

    /// `<name><member>…</member>…</name>`, as services other than EC2 write lists.
    pub(crate) fn members<T>(&mut self, name: &str, items: impl IntoIterator<Item = T>, each: impl Fn(&mut Self, T)) {
        self.group(name, |xml| {
            for item in items {
                xml.group("member", |xml| each(xml, item));
            }
        });
    }

    /// A `tagSet`.
    pub(crate) fn tags(&mut self, tags: &Tags) {
        self.items("tagSet", tags, |xml, (key, value)| {
            xml.text("key", key);
            xml.text("value", value);
        });
    }
}

/// A moment as EC2 writes it: UTC with milliseconds.
pub(crate) fn moment(value: Timestamp) -> String {
    value.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
