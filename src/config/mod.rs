//! Floor 3: the directives, the file they are written in, and their values.
