//! Reads the source tree and fails on a broken floor.
