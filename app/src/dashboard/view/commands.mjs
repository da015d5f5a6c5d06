// The commands: each asks for a reason first.

import { problem } from "../api.mjs";
import { object, text } from "../model/format.mjs";
import { isLive } from "../model/stages.mjs";
import { byId, setText, show } from "./elements.mjs";

const COMMANDS = {
  pause: { title: "Pause", means: "Nothing goes on and traffic stays as it is, until it is resumed." },
  resume: { title: "Resume", means: "It goes on where it was paused, judged on traffic from now on." },
  promote: { title: "Promote", means: "Go to the next stage without waiting for what is left of the hold." },
  approve: { title: "Approve", means: "The gate of this stage opens: it is left once its hold was seen." },
  decommission: { title: "Decommission", means: "The old pool is archived and stopped for good, and the candidate becomes stable. There is no way back." },
  rollback: { title: "Roll back", means: "All traffic returns to stable at once, then the candidate is taken away." },
};

/** What can be asked for now. A rollback can as long as there is anything to take back. */
export function possible(migration) {
  const { phase, paused, acknowledged } = object(migration);
  const live = isLive(migration);
  const forward = live && ["prepare", "deploy", "verify", "rollout", "validate"].includes(phase);
  const gated = text(object(migration).waiting_for)?.includes("gate") ?? false;
  return {
    pause: forward && !paused,
    resume: live && Boolean(paused),
    promote: phase === "rollout" && !paused && acknowledged !== false,
    approve: phase === "rollout" && gated,
    decommission: phase === "complete",
    rollback: live || phase === "complete",
  };
}

/** Lets the buttons stand for what can be asked for. */
export function drawCommands(migration) {
  const can = possible(migration);
  for (const button of byId("commands").querySelectorAll("button")) {
    const wanted = !can[button.dataset.command];
    // What is seldom asked for is shown only where it can be.
    if (button.dataset.seldom !== undefined) show(button, !wanted);
    if (button.disabled !== wanted) button.disabled = wanted;
  }
}

/** Listens to the buttons; `needToken` is called where there is none, `taken` with a new state. */
export function listenForCommands(api, needToken, taken) {
  const dialog = byId("command-dialog");
  let asked = null;
  byId("commands").addEventListener("click", ({ target }) => {
    const command = target.closest("button")?.dataset.command;
    if (!command) return;
    if (!api.hasToken) return needToken("Commands need the admin token.");
    asked = command;
    open(dialog, command);
  });
  byId("command-cancel").addEventListener("click", () => dialog.close());
  byId("command-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (asked === null) return;
    const why = byId("command-why").value.trim();
    if (why === "") return setText(byId("command-problem"), "Say why: it is kept in the journal.");
    const who = byId("command-who").value.trim();
    const body = { why, ...(who === "" ? {} : { who }) };
    if (asked === "promote" && byId("command-end").checked) body.to_end = true;
    byId("command-send").disabled = true;
    setText(byId("command-problem"), "");
    const answer = await api.post(`/admin/v1/migrations/current/${asked}`, body);
    byId("command-send").disabled = false;
    if (answer.status !== 200) return setText(byId("command-problem"), problem(answer));
    dialog.close();
    taken(answer.data);
  });
}

function open(dialog, command) {
  const { title, means } = COMMANDS[command];
  setText(byId("command-title"), title);
  setText(byId("command-means"), means);
  setText(byId("command-send"), title);
  setText(byId("command-problem"), "");
  byId("command-send").className = command === "rollback" ? "rollback" : "primary";
  byId("command-why").value = "";
  byId("command-end").checked = false;
  show(byId("command-end-label"), command === "promote");
  dialog.showModal();
  byId("command-why").focus();
}
