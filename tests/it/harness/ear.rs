//! What a server tells of its keys, heard by a client of its own.

use super::client::Client;
use super::server::Server;

pub struct Ear {
    client: Client,
}

impl Ear {
    /// Hears every key event from now on; which there are is a matter of `notify-keyspace-events`.
    #[track_caller]
    pub fn of(server: &Server) -> Ear {
        let mut client = server.client();
        client.check("psubscribe __key*__:* end", "[$psubscribe $__key*__:* :1]");
        assert_eq!(client.read().to_string(), "[$psubscribe $end :2]");
        Ear { client }
    }

    /// All that was told since the last time, in order, as the messages came. `speaker`: who made the last of the events.
    #[track_caller]
    pub fn heard(&mut self, speaker: &mut Client) -> Vec<String> {
        speaker.check("publish end x", ":1");
        let mut all = Vec::new();
        loop {
            let message = self.client.read().to_string();
            if message == "[$pmessage $end $end $x]" {
                return all;
            }
            all.push(message);
        }
    }
}
