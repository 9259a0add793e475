//! Any JSON, read by jq expressions.

/// Compiled jq expressions of a JSON source.
#[derive(Debug)]
pub struct Mapping;
