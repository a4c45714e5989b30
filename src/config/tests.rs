//! Behaviour of the configuration as a whole.
