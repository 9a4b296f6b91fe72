-- answer: 550 5.7.1 first
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

-- A fact belongs to its message. Each RCPT of the attack comes in a transaction of its own.
function on.rcpt(r)
  if r.message.my.seen or r.my.seen then return reject "carried" end
  r.message.my.seen, r.my.seen = true, true
  return reject "first"
end
