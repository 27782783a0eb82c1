//! A middleware decides: it returns a `Result`.

use ferrio::{Server, Socket};

fn main() {
    Server::new().use_(async |socket: Socket| println!("{}", socket.id()));
}
