-- want: ran out of instructions
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  while true do log.error("flood", { text = ("x"):rep(100) }) end
end
