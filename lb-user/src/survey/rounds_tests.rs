use super::*;
use crate::config::SurveyKey;

const EPOCH: u64 = 5;
const INSTANCE: u64 = 77;
const REMEMBER: Duration = Duration::from_secs(10);
const HTTPS: Server = Server { number: 7, port: 443 };
const HTTP: Server = Server { number: 7, port: 80 };
const OTHER: Server = Server { number: 8, port: 443 };

fn key() -> Key {
    Key::from(&SurveyKey([3; 32]))
}

fn node(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// Servers 7:443 and 7:80 at .1, 8:443 at .2; and the time.
struct Case {
    rounds: Rounds,
    now: Instant,
}

impl Case {
    fn new() -> Self {
        let servers = [(node(1), HTTPS), (node(1), HTTP), (node(2), OTHER)];
        Self { rounds: Rounds::new(EPOCH, INSTANCE, REMEMBER, servers), now: Instant::now() }
    }

    fn ask(&mut self, expected: &[(IpAddr, Server)]) -> (u64, oneshot::Receiver<()>) {
        self.ask_at(None, expected)
    }

    /// At one address, or in a group.
    fn ask_at(
        &mut self,
        to: Option<IpAddr>,
        expected: &[(IpAddr, Server)],
    ) -> (u64, oneshot::Receiver<()>) {
        let (nonce, done) = self.rounds.begin(to, expected, self.now);
        assert_eq!(nonce.instance, INSTANCE);
        (nonce.round, done)
    }

    fn hear(&mut self, from: u8, datagram: &[u8]) -> Vec<Announcement> {
        self.rounds.hear(&key(), node(from), datagram, self.now)
    }

    /// What an agent at that node says under a nonce.
    fn say(
        &mut self,
        from: u8,
        round: u64,
        sequence: u16,
        said: &[(Server, bool)],
    ) -> Vec<Announcement> {
        self.hear(from, &said_in(EPOCH, INSTANCE, round, sequence, said))
    }

    /// That one thing was refused since the last time.
    fn refused(&mut self, refusal: Refusal) {
        let refused = std::mem::take(&mut self.rounds.counts.refused);
        assert_eq!((refused.of(refusal), refused.total()), (1, 1), "{refused}, not {refusal:?}");
    }

    fn end(&mut self, round: u64) -> Vec<((IpAddr, Server), Outcome)> {
        let outcomes = self.rounds.end(round, MissReason::Timeout).expect("an open round");
        let mut outcomes: Vec<_> = outcomes.into_iter().collect();
        outcomes.sort_by_key(|(who, _)| *who);
        assert_eq!(self.rounds.counts.refused.total(), 0);
        outcomes
    }
}

fn said_in(
    epoch: u64,
    instance: u64,
    round: u64,
    sequence: u16,
    said: &[(Server, bool)],
) -> Vec<u8> {
    let records: Vec<_> =
        said.iter().map(|&(server, survival)| Record { server, survival }).collect();
    let nonce = Nonce { instance, round };
    wire::answer(&key(), epoch, nonce, sequence, &records).next().expect("a datagram")
}

const MISS: Outcome = Outcome::Miss(MissReason::Timeout);
use Outcome::{Hit, NotWorking};

#[test]
fn a_round_is_done_when_all_have_answered() {
    let mut case = Case::new();
    let all = [(node(1), HTTP), (node(1), HTTPS), (node(2), OTHER)];
    let (round, mut done) = case.ask(&all);
    case.say(1, round, 0, &[(HTTPS, true), (HTTP, false)]);
    assert!(done.try_recv().is_err(), "one is missing");
    assert_eq!(case.say(2, round, 0, &[(OTHER, true)]), []);
    assert!(done.try_recv().is_ok());
    assert_eq!(case.end(round), [(all[0], NotWorking), (all[1], Hit), (all[2], Hit)]);
    assert_eq!(case.rounds.counts.records, 3);
}

#[test]
fn what_is_missing_was_missed() {
    let mut case = Case::new();
    let (round, _done) = case.ask(&[(node(1), HTTPS), (node(2), OTHER)]);
    // What was not asked for is believed, and no answer.
    case.say(1, round, 0, &[(HTTP, true)]);
    case.say(2, round, 0, &[(OTHER, true)]);
    assert_eq!(case.end(round), [((node(1), HTTPS), MISS), ((node(2), OTHER), Hit)]);
}

#[test]
fn envelopes_that_are_refused() {
    let mut case = Case::new();
    let said = [(HTTPS, true)];
    let (closed, _done) = case.ask(&[(node(1), HTTPS)]);
    case.end(closed);
    let (round, _done) = case.ask(&[(node(1), HTTPS)]);
    case.say(1, closed, 0, &said);
    case.refused(Refusal::StaleNonce);
    case.say(1, round + 1, 0, &said);
    case.refused(Refusal::StaleNonce);
    case.say(1, round + 1, 1, &said);
    case.refused(Refusal::StaleNonce);
    case.hear(1, &said_in(EPOCH, INSTANCE + 1, round, 0, &said));
    case.refused(Refusal::StaleNonce);
    case.hear(1, &said_in(EPOCH + 1, INSTANCE, round, 0, &said));
    case.refused(Refusal::WrongEpoch);
    let nonce = Nonce { instance: INSTANCE, round };
    case.hear(1, &wire::question(&key(), EPOCH, nonce, Duration::ZERO));
    case.refused(Refusal::NotOurs);
    let (other_key, lie) =
        (Key::from(&SurveyKey([4; 32])), [Record { server: HTTPS, survival: false }]);
    for datagram in wire::answer(&other_key, EPOCH, nonce, 0, &lie) {
        case.hear(1, &datagram);
    }
    case.refused(Refusal::BadHmac);
    assert_eq!(case.end(round), [((node(1), HTTPS), MISS)]);
}

#[test]
fn records_that_are_refused() {
    let mut case = Case::new();
    let (round, _done) = case.ask(&[(node(1), HTTPS), (node(2), OTHER)]);
    case.say(1, round, 0, &[(Server { number: 9, port: 443 }, true)]);
    case.refused(Refusal::UnknownServer);
    case.say(2, round, 0, &[(HTTPS, true)]); // another node speaks for it
    case.refused(Refusal::UnknownServer);
    case.say(1, round, 0, &[(Server { number: 7, port: 444 }, true)]);
    case.refused(Refusal::WrongPort);
    // The others in a datagram count.
    case.say(2, round, 0, &[(HTTPS, true), (OTHER, true)]);
    case.refused(Refusal::UnknownServer);
    case.say(2, round, 0, &[(OTHER, false)]);
    case.refused(Refusal::Replay);
    assert_eq!(case.end(round), [((node(1), HTTPS), MISS), ((node(2), OTHER), Hit)]);
}

#[test]
fn an_announcement_is_passed_on_once() {
    let mut case = Case::new();
    let (round, _done) = case.ask(&[(node(1), HTTPS)]);
    case.say(1, round, 0, &[(HTTPS, true)]);
    assert_eq!(case.end(round), [((node(1), HTTPS), Hit)]);
    let announced = |survival| [Announcement { from: node(1), server: HTTPS, survival }];
    assert_eq!(case.say(1, round, 1, &[(HTTPS, false)]), announced(false));
    assert_eq!(case.say(1, round, 2, &[(HTTPS, false)]), []);
    assert_eq!(case.rounds.counts.refused.total(), 0, "a copy is no replay");
    assert_eq!(case.say(1, round, 4, &[(HTTPS, true)]), announced(true));
    // What is not newer is a replay, whatever it says.
    for sequence in [1, 3, 4] {
        assert_eq!(case.say(1, round, sequence, &[(HTTPS, false)]), []);
        case.refused(Refusal::Replay);
    }
    let (next, _done) = case.ask(&[(node(1), HTTPS)]);
    assert_eq!(case.say(1, round, 5, &[(HTTPS, false)]), announced(false));
    assert_eq!(case.say(1, next, 1, &[(HTTPS, true)]), announced(true));
    assert_eq!(case.say(1, round, 6, &[(HTTPS, false)]), []);
    case.refused(Refusal::Replay);
    assert_eq!(case.rounds.counts.announcements, 4);
}

#[test]
fn an_answer_renews_what_an_announcement_said() {
    let mut case = Case::new();
    let (round, _done) = case.ask(&[(node(1), HTTPS)]);
    let away = [Announcement { from: node(1), server: HTTPS, survival: false }];
    assert_eq!(case.say(1, round, 1, &[(HTTPS, false)]), away);
    let (round, _done) = case.ask(&[(node(1), HTTPS)]);
    case.say(1, round, 0, &[(HTTPS, true)]);
    // Gone again: that it was gone before is no reason to keep still.
    assert_eq!(case.say(1, round, 1, &[(HTTPS, false)]), away);
}

/// While another node, which is dead, keeps the round open.
#[test]
fn non_survival_does_not_wait_for_the_end_of_the_round() {
    let mut case = Case::new();
    let all = [(node(1), HTTPS), (node(2), OTHER)];
    let away = [Announcement { from: node(1), server: HTTPS, survival: false }];
    let (round, _done) = case.ask(&all);
    assert_eq!(case.say(1, round, 0, &[(HTTPS, false)]), away);
    assert_eq!(case.say(1, round, 1, &[(HTTPS, false)]), [], "a copy");
    assert_eq!(case.end(round), [(all[0], NotWorking), (all[1], MISS)]);
    // Of no news until it was there again, which itself waits for the round.
    for (survival, expected) in [(false, &[][..]), (true, &[]), (false, &away)] {
        let (round, _done) = case.ask(&all);
        assert_eq!(case.say(1, round, 0, &[(HTTPS, survival)]), expected);
        case.end(round);
    }
    // What was not asked for waits for its own round or announcement.
    let (round, _done) = case.ask(&all);
    assert_eq!(case.say(1, round, 0, &[(HTTP, false)]), []);
}

#[test]
fn an_announcement_answers_an_open_round_and_an_older_answer_does_not_count() {
    let mut case = Case::new();
    let (round, mut done) = case.ask(&[(node(1), HTTPS)]);
    assert_eq!(case.say(1, round, 1, &[(HTTPS, false)]).len(), 1);
    assert!(done.try_recv().is_ok());
    case.say(1, round, 0, &[(HTTPS, true)]); // overtaken on its way
    case.refused(Refusal::Replay);
    assert_eq!(case.end(round), [((node(1), HTTPS), NotWorking)]);
    // An answer that came after says the same, and is honest; once.
    let (round, _done) = case.ask(&[(node(1), HTTPS)]);
    case.say(1, round, 1, &[(HTTPS, true)]);
    assert_eq!(case.say(1, round, 0, &[(HTTPS, true)]), []);
    assert_eq!(case.rounds.counts.refused.total(), 0);
    case.say(1, round, 0, &[(HTTPS, true)]);
    case.refused(Refusal::Replay);
    assert_eq!(case.end(round), [((node(1), HTTPS), Hit)]);
}

#[test]
fn nonces_grow_old() {
    let mut case = Case::new();
    let (first, _done) = case.ask(&[(node(1), HTTPS)]);
    case.now += REMEMBER;
    assert_eq!(case.say(1, first, 1, &[(HTTPS, false)]).len(), 1);
    let (second, _done) = case.ask(&[(node(1), HTTPS)]);
    case.now += REMEMBER / 8;
    assert_eq!(case.say(1, first, 2, &[(HTTPS, true)]), []);
    case.refused(Refusal::StaleNonce);
    assert_eq!(case.say(1, second, 1, &[(HTTPS, true)]).len(), 1);
    case.now += REMEMBER * 2;
    assert_eq!(case.say(1, second, 2, &[(HTTPS, false)]), []);
    case.refused(Refusal::StaleNonce);
    assert!(case.rounds.asked.is_empty());
}

#[test]
fn many_questions_take_little_memory() {
    let mut case = Case::new();
    for _ in 0..100_000 {
        let (round, _done) = case.ask(&[(node(1), HTTPS)]);
        case.end(round);
        case.now += Duration::from_millis(1);
    }
    assert!(case.rounds.asked.len() <= 18, "{}", case.rounds.asked.len());
    assert!(case.rounds.open.is_empty());
}

#[test]
fn a_question_that_was_not_delivered_is_missed_for_that_reason() {
    let mut case = Case::new();
    let both = [(node(1), HTTPS), (node(1), HTTP)];
    let (round, mut done) = case.ask_at(Some(node(1)), &both);
    let nonce = Nonce { instance: INSTANCE, round };
    let shown = wire::question(&key(), EPOCH, nonce, Duration::ZERO);
    let refused = MissReason::Refused;
    case.rounds.undelivered(&key(), node(1), &shown[..20], refused); // proves nothing
    case.rounds.undelivered(&key(), node(2), &shown, refused); // another's
    assert!(done.try_recv().is_err());
    case.rounds.undelivered(&key(), node(1), &shown, refused);
    assert!(done.try_recv().is_ok());
    let missed = Outcome::Miss(refused);
    assert_eq!(case.end(round), [((node(1), HTTP), missed), ((node(1), HTTPS), missed)]);

    // Who heard a question to all can say that of anybody.
    let (round, _done) = case.ask(&both);
    let nonce = Nonce { instance: INSTANCE, round };
    let shown = wire::question(&key(), EPOCH, nonce, Duration::ZERO);
    case.rounds.undelivered(&key(), node(1), &shown, refused);
    assert_eq!(case.say(1, round, 0, &[(HTTPS, true), (HTTP, true)]), []);
    assert_eq!(case.end(round), [((node(1), HTTP), Hit), ((node(1), HTTPS), Hit)]);
}
