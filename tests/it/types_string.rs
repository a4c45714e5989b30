//! Strings: what newer servers than the machine's stock one have.

use crate::harness::{Kind, Server};

#[test]
fn a_string_is_compared_before_it_is_removed() {
    Server::start(Kind::Pando, &[]).script(
        r#"delex none => :0
        delex none ifeq x => :0
        set a hello => +OK
        delex a ifeq hell => :0
        delex a IFNE hello => :0
        delex a ifeq => -ERR wrong number of arguments for 'delex' command
        delex a ifeq hello x => -ERR wrong number of arguments for 'delex' command
        delex a equals hello => -ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE
        delex a ifeq hello => :1
        get a => $nil
        set a 10 => +OK
        delex a ifne 11 => :1
        rpush l a => :1
        delex l ifeq a => -ERR Key should be of string type if conditions are specified
        delex l => :1
        exists l => :0"#,
    );
}

/// The example is that of Redis' own documentation.
#[test]
fn a_digest_stands_for_a_string() {
    Server::start(Kind::Pando, &[]).script(
        r#"digest key1 => $nil
        set key1 "Hello world" => +OK
        digest key1 => $b6acb9d84a38ff74
        set empty "" => +OK
        digest empty => $2d06800538d394c2
        set key1 new ifdeq 0000000000000000 => $nil
        set key1 new ifdne B6ACB9D84A38FF74 => $nil
        set key1 new ifdeq b6acb9d84a38ff7 => -ERR must be exactly 16 hexadecimal characters
        set key1 new ifdne b6acb9d84a38ff744 => -ERR must be exactly 16 hexadecimal characters
        set key1 new ifdeq "" get => -ERR must be exactly 16 hexadecimal characters
        delex key1 ifdeq b6acb9d84a38ff7 => -ERR must be exactly 16 hexadecimal characters
        delex key1 ifdeq zzzzzzzzzzzzzzzz => :0
        set key1 new ifdeq zzzzzzzzzzzzzzzz => $nil
        delex none ifdeq short => :0
        delex none whatever short => :0
        set none x ifdeq short => $nil
        set there x ifdne short => +OK
        set zeros v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd => +OK
        digest zeros => $00006c38adf31777
        delex key1 ifdne b6acb9d84a38ff74 => :0
        set key1 new ifdeq b6acb9d84a38ff74 get => $Hello world
        get key1 => $new
        set none x ifdeq b6acb9d84a38ff74 => $nil
        set other x ifdne b6acb9d84a38ff74 => +OK
        delex key1 ifdne b6acb9d84a38ff74 => :1
        set key1 a ifeq b ifne c => -ERR syntax error
        rpush l a => :1
        digest l => -WRONGTYPE Operation against a key holding the wrong kind of value
        set l a ifdeq b6acb9d84a38ff74 => -WRONGTYPE Operation against a key holding the wrong kind of value
        set l a ifdne short => -WRONGTYPE Operation against a key holding the wrong kind of value
        delex l whatever a => -ERR Key should be of string type if conditions are specified"#,
    );
}
