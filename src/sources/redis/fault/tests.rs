//! The words for what goes wrong.

use redis::{Value, parse_redis_value};

use super::*;

#[test]
fn the_state_of_a_server_is_said_in_plain_words() {
    for (answer, fault) in [
        ("NOAUTH Authentication required.", denied("it wants a password: give the connection `password`")),
        (
            "NOPERM this user has no permissions to run the 'time' command",
            denied(&format!(
                "this user has no permissions to run the 'time' command; the user needs `{RIGHTS}`"
            )),
        ),
        (
            "ERR max number of clients reached",
            Fault::Lost("it has as many clients as its `maxclients` allows".into()),
        ),
        (
            "LOADING Redis is loading the dataset in memory",
            unexpected("it is loading its data after a start"),
        ),
        ("BUSY Redis is busy running a script.", unexpected("it is busy with a script")),
        ("MASTERDOWN Link with MASTER is down", unexpected("it is a replica that has lost its master")),
        ("READONLY You can't write", unexpected("it is a replica, which does not take this command")),
        (
            "MOVED 3999 127.0.0.1:6381",
            unexpected("it is a node of a cluster: the connection must be of `type: redis-cluster`"),
        ),
        ("ODD thing", unexpected("it said ODD thing")),
        ("ODD", unexpected("it said ODD")),
    ] {
        assert_eq!(Fault::said(&error(answer)), fault);
    }
}

#[test]
fn an_error_about_a_key_names_it() {
    for (answer, fault) in [
        (
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            unexpected(
                "`acme:tasks` holds another type than a list: `listName` takes the list from which workers take \
                 their tasks",
            ),
        ),
        (
            "NOPERM No permissions to access a key",
            denied(&format!(
                "reading `acme:tasks`: No permissions to access a key; the user needs `{RIGHTS} ~acme:tasks`"
            )),
        ),
        ("NOAUTH Authentication required.", denied("it wants a password: give the connection `password`")),
        ("LOADING Redis", unexpected("reading `acme:tasks`: it is loading its data after a start")),
    ] {
        assert_eq!(Fault::about("acme:tasks", "list", Purpose::WaitingList, &error(answer)), fault);
    }
}

#[test]
fn the_words_of_a_server_that_may_quote_the_password_are_not_repeated() {
    for (answer, fault) in [
        ("WRONGPASS invalid hunter2", denied("wrong username or password, or the user is off")),
        (
            "ERR unknown command 'AUTH', with args beginning with: 'hunter2'",
            denied("it does not take the password"),
        ),
        ("hunter2 hunter2", denied("it does not take the password")),
        ("NOPERM hunter2", denied("it does not take the password")),
        (
            "ERR AUTH <password> called without any password configured for the default user.",
            denied("its default user has no password: leave `password` out"),
        ),
        (
            "ERR max number of clients reached",
            Fault::Lost("it has as many clients as its `maxclients` allows".into()),
        ),
        ("LOADING Redis", unexpected("it is loading its data after a start")),
    ] {
        assert_eq!(Fault::said_to_password(&error(answer)), fault);
    }
}

#[test]
fn a_server_cannot_flood_a_log() {
    let Fault::Unexpected(message) = Fault::said(&error(&format!("ODD {}", "x".repeat(5_000)))) else {
        panic!("no state has this name");
    };
    assert_eq!(message.len(), "it said ".len() + 200);
}

fn denied(message: &str) -> Fault {
    Fault::Denied(message.to_owned())
}

fn unexpected(message: &str) -> Fault {
    Fault::Unexpected(message.to_owned())
}

fn error(line: &str) -> ServerError {
    let Ok(Value::ServerError(error)) = parse_redis_value(format!("-{line}\r\n").as_bytes()) else {
        panic!("{line} is an error");
    };
    error
}
