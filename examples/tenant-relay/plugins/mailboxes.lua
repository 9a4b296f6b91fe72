-- Refuses recipients that do not exist, where it is known who does. Accepting does not end a stage, so this plugin is asked
-- about a recipient that `domains` accepted, and has the last word.

plugin {
  id = "mailboxes",
  version = "1.0.0",
  description = "refuses recipients that do not exist",
  config = {
    domains = { type = "map", default = {}, doc = "The mailboxes of each domain, without @ and what follows." },
  },
  hook = { rcpt = { after = { "domains" } } },
}

-- Filled once, while the plugin loads; in a handler it could not be changed.
local known = {}
for domain, mailboxes in pairs(config.domains) do
  known[domain] = {}
  for _, mailbox in ipairs(mailboxes) do
    known[domain][string.lower(mailbox)] = true
  end
end

function on.rcpt(r)
  local mailboxes = known[r.address.domain]
  if not mailboxes then return end -- not ours to judge
  local name = string.match(r.address.mailbox, "^[^+]*") -- sales+news is sales
  if not mailboxes[string.lower(name)] then
    return reject { text = "no such mailbox here", enhanced = "5.1.1", reason = "unknown mailbox" }
  end
end
