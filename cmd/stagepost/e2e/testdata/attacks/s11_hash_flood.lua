-- want: ran out of
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  local text = ("a"):rep(1e6)
  while true do hash.sha256(text) end
end
