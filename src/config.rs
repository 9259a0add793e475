//! From YAML files to a plan, or a report of everything that is wrong with them.
