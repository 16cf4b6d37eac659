-- One chat completion, again and again. The token comes after "--" on wrk's command line.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"gpt-4o","messages":[{"role":"user","content":"Summarise this contract in one sentence, please."}]}'

function init(arguments)
  wrk.headers["Authorization"] = "Bearer " .. arguments[1]
end
