-- One handler at each stage of a message's life. A handler gets the object of its stage and answers nothing, which is "no
-- opinion", or one verdict. Change this file and save it while the demo runs: the next message meets the new one. A file
-- with a mistake changes nothing; the server says where the mistake is, and goes on as before.

plugin {
  id = "hello", -- the name of the file
  version = "1.0.0",
  description = "shows each stage of a message's life",
  needs = { read = "headers", edit = { "headers" }, route = { "mx" } },
}

-- A client connected; all that is known is its address.
function on.connect(s)
  if s.early then
    return close "one at a time, please: wait for the greeting"
  end
end

-- It said who it is.
function on.helo(s)
  if s.helo == "mx1.demo.example" then
    return reject "that is my own name"
  end
end

-- A message begins. Facts are a plugin's notes on it; they reach the later stages, and other plugins.
function on.mail(m)
  m.my.bounce = m.sender.text == ""
end

-- Asked for each recipient. The plugins domains and relay say who is wanted; this one refuses somebody.
function on.rcpt(r)
  if r.address.mailbox == "nobody" then
    return reject "nobody reads this mailbox"
  end
end

-- All of the message is here; it can be changed before it is kept.
function on.data(m)
  local subject = m:header("Subject") or "(none)"
  m:set_header("Subject", "[demo] " .. subject)
end

-- The last word before the message is kept and the client gets its 250.
function on.queue(m)
  if not m.my.bounce then
    m:add_header("X-Hello", "this message met hello.lua")
  end
end

-- A recipient is due, at the first try and at each later one: where does this copy go?
function on.route(r)
  if r.address.domain == "moved.example" then
    return route { mx = "good.example" }
  end
end
