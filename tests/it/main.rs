//! Behaviour, seen from outside: real servers, real sockets, stock programs at the other end.
