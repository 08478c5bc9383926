//! Records of the probe → [`crate::model::Event`].
