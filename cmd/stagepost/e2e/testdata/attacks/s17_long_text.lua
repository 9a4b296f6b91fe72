-- want: at most 400 bytes
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return reject(("x"):rep(10000))
end
