-- want: code 999 is not a 5xx reply
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return reject { code = 999 }
end
