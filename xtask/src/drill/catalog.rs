//! Every drill: what it does, what must hold.
//!
//! In every drill no caller may see a failure that its text does not explain, no session may be lost,
//! what must not be repeated may not run twice, once 0 % is acknowledged nobody may be sent to the
//! candidate, every journal must keep the laws, and nothing that the server started may outlive it.

use super::Drill;
use super::plays;

/// In the order in which `--all` plays them: the main way, bad candidates, bad machines, people.
pub(super) const ALL: &[Drill] = &[
    Drill {
        name: "happy",
        does: "Moves all traffic from pool V1 to pool V2 through six stages, under DSPy programs and callables, with sessions and without.",
        must: "The migration is complete, each stage was entered once, and nothing was taken back.",
        dspy: true,
        play: plays::happy::play,
    },
    Drill {
        name: "error-spike",
        does: "At 25 % two of five calls on the candidate begin to raise an exception.",
        must: "It is rolled back by itself, with traffic at 0 % within 20 s. Callers see the exceptions: a program that raises has run, and nobody may run it again behind its caller's back.",
        dspy: false,
        play: plays::broken::error_spike,
    },
    Drill {
        name: "latency",
        does: "At 25 % each call on the candidate begins to take 300 ms longer.",
        must: "It is rolled back by itself, with traffic at 0 % within 90 s (a p99 is proved by some fifteen hundred calls), and no call fails.",
        dspy: false,
        play: plays::broken::latency,
    },
    Drill {
        name: "worker-crashes",
        does: "At 25 % each tenth call on the candidate begins to end its worker.",
        must: "It is rolled back by itself, with traffic at 0 % within 1.2 s of the first lost call: the interval of the looks and a second. Stable answers what may be repeated; what must not be, and was in a worker that was lost, fails with that reason.",
        dspy: false,
        play: plays::broken::worker_crashes,
    },
    Drill {
        name: "hang",
        does: "At 25 % each fifth call on the candidate begins to stop its worker dead.",
        must: "It is rolled back by itself, with traffic at 0 % within 20 s. Stable answers what may be repeated; what must not be, and was in a worker that was lost, fails with that reason.",
        dspy: false,
        play: plays::broken::hang,
    },
    Drill {
        name: "memory-leak",
        does: "From the start the candidate's workers keep 2 MiB at each twentieth call.",
        must: "It is rolled back by itself, for its memory, and no call fails. A pool says nothing of less than 48 measurements, so this takes a minute.",
        dspy: false,
        play: plays::memory_leak::play,
    },
    Drill {
        name: "bad-deploy",
        does: "Brings in a candidate whose workers never become ready.",
        must: "It is rolled back by itself, and neither traffic nor any call was ever sent to it.",
        dspy: false,
        play: plays::bad_deploy::play,
    },
    Drill {
        name: "provider-outage",
        does: "At 50 % the model's provider answers 500 for 15 s, to both lanes.",
        must: "Nothing is rolled back, and after the outage the migration comes to its end. Callers see the provider's failures: there is nobody who could answer.",
        dspy: true,
        play: plays::provider_outage::play,
    },
    Drill {
        name: "no-traffic",
        does: "Starts a migration while nobody calls, and waits ten times its first hold.",
        must: "The stage is not left and does not age, the verdict is inconclusive and says what it lacks, and it can be taken back.",
        dspy: false,
        play: plays::no_traffic::play,
    },
    Drill {
        name: "controller-kill",
        does: "Kills the server with SIGKILL at 20 random moments of one migration, and starts it again each time.",
        must: "The migration comes to its end, as one migration. Callers try again while nobody listens; what must not be repeated, and whose connection broke, fails.",
        dspy: false,
        play: plays::controller_kill::play,
    },
    Drill {
        name: "server-restart",
        does: "Stops the server in order at 10 % and at 50 %, and starts it again four seconds later.",
        must: "No call is cut off, the migration goes on where it was, and comes to its end. Callers try again while nobody listens.",
        dspy: false,
        play: plays::server_restart::play,
    },
    Drill {
        name: "disk-full",
        does: "Fills the server's disk for 8 s at 50 %, and once more while a rollback is asked for.",
        must: "Calls that keep nothing are answered all the while, those with a state are put off, the migration stays where it was, and the rollback, asked for once the store was seen to refuse a write, takes effect within 2 s although it cannot be written down.",
        dspy: false,
        play: plays::store::disk_full,
    },
    Drill {
        name: "database-locked",
        does: "Another process locks the database for 8 s at 50 %, and once more while a rollback is asked for.",
        must: "Calls that keep nothing are answered all the while, those with a state are put off, the migration stays where it was, and the rollback, asked for once the store was seen to refuse a write, takes effect within 2 s although it cannot be written down.",
        dspy: false,
        play: plays::store::database_locked,
    },
    Drill {
        name: "clock-jump",
        does: "At 25 % the server's wall clock jumps an hour ahead, then an hour behind, then back.",
        must: "The migration comes to its end, and each stage lasted its hold by the steady clock.",
        dspy: false,
        play: plays::clock_jump::play,
    },
    Drill {
        name: "pause-resume",
        does: "Pauses the migration at 25 % for longer than its hold, and resumes it.",
        must: "Paused, neither traffic nor the stage's age moves; resumed, it comes to its end.",
        dspy: false,
        play: plays::pause_resume::play,
    },
    Drill {
        name: "rollback-everywhere",
        does: "Asks for a rollback in each state: just begun, deploying, verifying, in each stage, paused, rolling back, validating, complete with the old pool warm and cold, in each step of the decommission before the candidate is stable, and once after that.",
        must: "Each time everything is taken back, no call fails, and 0 % is acknowledged within 200 ms of the command while the candidate has traffic, within 2 s in every other state. Once the candidate is stable there is nothing to go back to: it is refused, and the decommission comes to its end.",
        dspy: false,
        play: plays::rollback_everywhere::play,
    },
    Drill {
        name: "emergency",
        does: "Takes traffic back by the store alone (`emergency-rollback`) while the server lives, hangs (SIGSTOP) and is gone.",
        must: "The server obeys where it can, and otherwise before it serves after its restart: no call goes to the candidate after the command. Callers try again while nobody answers; what must not be repeated, and whose connection broke, fails.",
        dspy: false,
        play: plays::emergency::play,
    },
    Drill {
        name: "overload",
        does: "Offers a pool twice the calls that it can answer, without a migration.",
        must: "What is refused is refused in order (429 or 503, with Retry-After), what is accepted keeps its latency but for the wait in the queue, most of the capacity is kept, and afterwards it is as before.",
        dspy: false,
        play: plays::overload::play,
    },
    Drill {
        name: "session-affinity",
        does: "Keeps 40 sessions calling through all stages up to 100 %, and back to 0 %.",
        must: "Each session changes its side once on the way up and once on the way back, keeps its state, and finds its worker in 95 of 100 calls.",
        dspy: false,
        play: plays::session_affinity::play,
    },
    Drill {
        name: "decommission",
        does: "Completes a migration, takes the old pool out of service, and restarts the server.",
        must: "The old pool may not go while it serves; then it goes with all its workers and does not come back, although the file names it as stable. No call fails.",
        dspy: false,
        play: plays::decommission::play,
    },
    Drill {
        name: "again",
        does: "After pool V1 has gone, moves all traffic from V2 to another V2: another virtual environment with another DSPy, another size, another model; then restarts the server.",
        must: "Both moves are complete, and after each the old pool goes. No call fails, calls are answered on the other DSPy, which asks its own model, and the report names both versions.",
        dspy: true,
        play: plays::again::play,
    },
];
