-- want: code 550 is not a 4xx reply
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return defer { code = 550 }
end
