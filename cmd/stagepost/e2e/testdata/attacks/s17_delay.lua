-- want: delay is
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "1s" } } }

function on.rcpt(r)
  return reject { delay = 1e9 }
end
