//! Resolves the `$ref` of a schema to a part of the same schema: by a JSON pointer (RFC 6901) in the fragment of a URI,
//! by an `$anchor`, or by the `$id` of the schema or of a part.

use std::collections::HashMap;

use serde_json::Value;

/// A schema inside a schema.
#[derive(Debug, Clone)]
pub(super) struct Subschema<'a> {
    pub(super) schema: &'a Value,
    /// The path of the schema, for messages.
    pub(super) path: String,
    /// The base of its references: the nearest `$id` above, or empty.
    pub(super) base: String,
}

/// The parts of a schema that references can name.
pub(super) struct References<'a> {
    /// By absolute URI; those of anchors contain `#`.
    named: HashMap<String, Subschema<'a>>,
    root: Subschema<'a>,
}

impl<'a> References<'a> {
    pub(super) fn new(schema: &'a Value, path: &str) -> Self {
        let root = Subschema { schema, path: path.to_owned(), base: base_of(schema, "") };
        let mut references = Self { named: HashMap::new(), root: root.clone() };
        references.collect(schema, path.to_owned(), "");
        references.named.insert(root.base.clone(), root);
        references
    }

    pub(super) fn root(&self) -> Subschema<'a> {
        self.root.clone()
    }

    /// The part that a reference names, for a schema with the base `base`.
    pub(super) fn find(&self, reference: &str, base: &str) -> Option<Subschema<'a>> {
        let uri = resolved(base, reference);
        let (document, fragment) = uri.split_once('#').unwrap_or((&uri, ""));
        let fragment = percent_decoded(fragment)?;
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return self.named.get(&format!("{document}#{fragment}")).cloned();
        }
        let mut place = self.named.get(document)?.clone();
        for segment in fragment.split('/').skip(1) {
            place = step(&place, &segment.replace("~1", "/").replace("~0", "~"))?;
        }
        Some(place)
    }

    fn collect(&mut self, value: &'a Value, path: String, base: &str) {
        match value {
            Value::Object(fields) => {
                let base = base_of(value, base);
                let place = Subschema { schema: value, path, base };
                let text = |key: &str| fields.get(key).and_then(Value::as_str);
                let anchors = [text("$anchor"), text("$id").and_then(|id| id.strip_prefix('#'))];
                for anchor in anchors.into_iter().flatten() {
                    self.named.entry(format!("{}#{anchor}", place.base)).or_insert_with(|| place.clone());
                }
                if text("$id").is_some() {
                    self.named.entry(place.base.clone()).or_insert_with(|| place.clone());
                }
                for (key, field) in fields {
                    self.collect(field, format!("{}.{key:.60}", place.path), &place.base);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect(item, format!("{path}[{index}]"), base);
                }
            }
            _ => {}
        }
    }
}

/// The base of references inside a schema; `base` is the base outside of it.
pub(super) fn base_of(schema: &Value, base: &str) -> String {
    match schema.get("$id").and_then(Value::as_str) {
        Some(id) if !id.starts_with('#') => without_fragment(&resolved(base, id)).to_owned(),
        _ => base.to_owned(),
    }
}

fn step<'a>(place: &Subschema<'a>, segment: &str) -> Option<Subschema<'a>> {
    let (schema, path) = match place.schema {
        Value::Object(fields) => (fields.get(segment)?, format!("{}.{segment:.60}", place.path)),
        Value::Array(items) => (items.get(segment.parse::<usize>().ok()?)?, format!("{}[{segment}]", place.path)),
        _ => return None,
    };
    Some(Subschema { base: base_of(schema, &place.base), schema, path })
}

/// A reference as an absolute URI, if its base is one (RFC 3986, without dot segments).
fn resolved(base: &str, reference: &str) -> String {
    let base = without_fragment(base);
    let reference = reference.strip_prefix("./").unwrap_or(reference);
    let scheme_end = |uri: &str| uri.find([':', '/', '#', '?']).filter(|end| uri[*end..].starts_with(':'));
    if scheme_end(reference).is_some() {
        return reference.to_owned();
    }
    if reference.is_empty() || reference.starts_with('#') {
        return format!("{base}{reference}");
    }
    let scheme = scheme_end(base).map_or(0, |end| end + 1);
    let authority =
        base[scheme..].strip_prefix("//").map_or(scheme, |rest| scheme + 2 + rest.find('/').unwrap_or(rest.len()));
    let kept = match reference {
        reference if reference.starts_with("//") => &base[..scheme],
        reference if reference.starts_with('/') => &base[..authority],
        _ => &base[..base[authority..].rfind('/').map_or(authority, |slash| authority + slash + 1)],
    };
    format!("{kept}{reference}")
}

fn without_fragment(uri: &str) -> &str {
    uri.split_once('#').map_or(uri, |(document, _)| document)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digits = str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}
