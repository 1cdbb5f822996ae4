//! Keywords of JSON schemas that have no effect on validity.

/// Keywords without effect on validity, for people and for other programs.
const ANNOTATIONS: [&str; 27] = [
    "$schema",
    "$id",
    "id",
    "$anchor",
    "$comment",
    "$defs",
    "definitions",
    "title",
    "description",
    "default",
    "example",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "discriminator",
    "xml",
    "externalDocs",
    "propertyOrdering",
    "enumNames",
    "enumDescriptions",
    "markdownDescription",
    "errorMessage",
    "tsType",
];
/// The compiler's own options inside a schema.
pub(super) const OPTIONS: &str = "x-guidance";

/// Whether a keyword has no effect on validity.
pub(super) fn is_annotation(key: &str) -> bool {
    ANNOTATIONS.contains(&key) || (key.starts_with("x-") && key != OPTIONS)
}
