//! Floor 4: the data commands, a file a family. A handler sees data and arguments, never a connection.
