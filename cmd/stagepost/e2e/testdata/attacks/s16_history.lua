-- answer: 550 5.7.1 bounded
plugin { id = "attack", needs = { relay = true },
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

-- What the session remembers of earlier answers is bounded, and is no verdict.
function on.rcpt(r)
  if #r.message.session.history > 100 then return accept "relay" end
  return reject "bounded"
end
