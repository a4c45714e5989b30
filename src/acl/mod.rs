//! Floor 3: users and passwords. Knows no connection.
