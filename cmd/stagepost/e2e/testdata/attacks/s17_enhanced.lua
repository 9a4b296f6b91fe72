-- want: enhanced
plugin { id = "attack",
  hook = { rcpt = { when = { listener = { "attack" } }, timeout = "300ms" } } }

function on.rcpt(r)
  return reject { enhanced = "5.1.1 ok\r\n250 2.0.0" }
end
