//! Floor 6: snapshots to files and from files.
