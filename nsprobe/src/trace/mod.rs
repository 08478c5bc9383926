//! Records of the probe → [`crate::model::Event`].

pub mod decode;
