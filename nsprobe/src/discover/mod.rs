//! Linux → [`crate::model::Snapshot`]; one file a source.
