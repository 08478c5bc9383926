//! Parts that the development tasks share: where things are in the checkout, and the distribution's archive.

pub mod archive;
pub mod checkout;
