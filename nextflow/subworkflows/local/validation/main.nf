// Checks the user's parameters and samplesheet before any task starts, against the schemas derived from the contract; no plugin needed.

/** Find a file or folder by its name, taken as it is: brackets, * and ? are letters like any other. */
def named(path) {
    return file(path, glob: false)
}

/** Read a JSON file of the workflow. */
def jsonOf(path) {
    return new groovy.json.JsonSlurper().parse(named("${projectDir}/${path}").toFile())
}

/** Return the parameters that the schema describes, by name. */
def schemaProperties() {
    return jsonOf('nextflow_schema.json')['$defs'].values().collectEntries { section -> section.properties }
}

/** Return what --help prints: every parameter, from the schema. */
def helpText() {
    def schema = jsonOf('nextflow_schema.json')
    def usage = 'Usage: nextflow run nextflow/ -profile docker --input samplesheet.csv --outdir results'
    def sections = schema['$defs'].values().collect { section ->
        def shown = section.properties.findAll { _name, property -> !property.hidden }
        ([section.title] + shown.collect { name, property -> helpLine(name, property) }).join('\n')
    }
    return (["${versionText()}: ${schema.description}", usage] + sections).join('\n\n')
}

/** Return what --help prints of one parameter. */
def helpLine(name, property) {
    def choices = property['enum'] ? "(${property['enum'].join(', ')})" : ''
    def preset = property['default'] != null ? "[default: ${property['default']}]" : property.help_text
    return '  --' + ([name.padRight(25), property.description, choices, preset].findAll().join(' '))
}

/** Return what --version prints. */
def versionText() {
    return "${workflow.manifest.name} ${workflow.manifest.version}"
}

/** Return true or false, as text, for what spreadsheets and people write for them, and anything else as it is. */
def plainBoolean(text) {
    def word = text.toString().toLowerCase()
    return word in ['true', 't', 'yes', 'y', '1'] ? 'true' : word in ['false', 'f', 'no', 'n', '0'] ? 'false' : text
}

/** Return what is wrong with one value, or null. Covers the JSON Schema keywords that the schemas use. */
def problemWith(value, schema) {
    def text = value.toString()
    def types = [schema.type].flatten()
    def is_number = text ==~ /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?/
    if (types == ['boolean'] && !(text in ['true', 'false'])) {
        return 'must be true or false'
    }
    if (types == ['integer'] && !(text ==~ /[+-]?\d+/)) {
        return 'must be a whole number'
    }
    if (types == ['number'] && !is_number) {
        return 'must be a number'
    }
    if (schema['enum'] && !(text in schema['enum'])) {
        return "must be one of ${schema['enum'].join(', ')}"
    }
    if (is_number && ('integer' in types || 'number' in types)) {
        def number = new BigDecimal(text)
        if (schema.minimum != null && number < schema.minimum) {
            return "must be at least ${schema.minimum}"
        }
        if (schema.maximum != null && number > schema.maximum) {
            return "must be at most ${schema.maximum}"
        }
        if (schema.exclusiveMinimum != null && number <= schema.exclusiveMinimum) {
            return "must be above ${schema.exclusiveMinimum}"
        }
        if (schema.exclusiveMaximum != null && number >= schema.exclusiveMaximum) {
            return "must be below ${schema.exclusiveMaximum}"
        }
    }
    else if (schema.pattern && !(text =~ schema.pattern)) {
        return schema.errorMessage
    }
    return null
}

/** Reduce a parameter's name to what survives mistyping: Nextflow itself turns --k-cell into kCell. */
def plainName(name) {
    return name.toString().toLowerCase().replaceAll(/[-_]/, '')
}

/** Return how many letters must be changed, added, left out or exchanged with their neighbour to make one name the other. */
def editDistance(one, other) {
    def rows = [(0..other.size()).toList()]
    one.toList().eachWithIndex { letter, i ->
        def row = [i + 1]
        other.toList().eachWithIndex { wanted, j ->
            def ways = [row[j] + 1, rows[i][j + 1] + 1, rows[i][j] + (letter == wanted ? 0 : 1)]
            if (i && j && letter == other[j - 1] && wanted == one[i - 1]) {
                ways << rows[i - 1][j - 1] + 1
            }
            row << ways.min()
        }
        rows << row
    }
    return rows[-1][-1]
}

/** Return the parameter that an unknown name was probably meant to be, or null: at most one letter in five is wrong. */
def meantBy(name, known) {
    def typed = plainName(name)
    def nearest = known.min { candidate -> editDistance(typed, plainName(candidate)) }
    def distance = editDistance(typed, plainName(nearest))
    return typed.size() > 3 && distance <= Math.max(1, typed.size().intdiv(5)) ? nearest : null
}

/** Return a warning for each unknown parameter that looks like a misspelt one; sites' own parameters are not our concern. */
def parameterWarnings(given) {
    def known = schemaProperties().keySet()
    return given.keySet()
        .findAll { name -> !(name in known) }
        .collectEntries { name -> [plainName(name), name] }
        .values()
        .collectEntries { name -> [name, meantBy(name, known)] }
        .findAll { _name, meant -> meant }
        .collect { name, meant -> "--${name} is not a parameter and has no effect: did you mean --${meant}?" }
}

/** Return the problems with the parameters: invalid values, one line each. */
def parameterProblems(given) {
    return schemaProperties().collectMany { name, schema ->
        def value = given[name]
        def problem = value == null ? null : problemWith(value, schema)
        problem ? ["--${name} ${value}: ${problem}"] : []
    }
}

/** Find the file of a path in the samplesheet: a relative path is looked up in the launch folder, then in the samplesheet's. */
def located(path, sheet) {
    def here = named(path)
    return here.exists() || path.startsWith('/') || path.contains('://') ? here : sheet.parent.resolve(path)
}

/** Return whether a path of the samplesheet is an address that sccr can read. */
def isAddress(path) {
    return path ==~ /(?:s3|gs|az|https):\/\/.+/
}

/** Return the name of a sample's file or folder, which is an address as text if sccr is to fetch it. */
def nameOf(data) {
    return data instanceof CharSequence ? data.replaceAll(/[?#].*/, '').tokenize('/').last() : data.name
}

/** Return the name under which a fetched sample is handed on: its own could be one that Nextflow cannot pass to a task. */
def fetchedName(meta, address) {
    return meta.id + (nameOf(address).findAll(/\.(?:h5ad|zarr|h5)$/)[0] ?: '')
}

/** Return the problem with a path of the samplesheet, or null. */
def pathProblem(path, sheet) {
    try {
        def found = located(path, sheet)
        return found.exists() ? handoverProblem(found) : 'does not exist'
    }
    catch (Exception failure) {
        if (!isAddress(path)) {
            throw failure
        }
        return "cannot be read by Nextflow (${failure.message}); with --fetch, sccr reads it"
    }
}

/**
 * Return why Nextflow could not hand over an existing file, or null.
 * Its own scripts name files without quotes; what it leaves to the shell is expanded there.
 */
def handoverProblem(path) {
    def text = path.toString()
    if (path.scheme != 'file') {
        return null
    }
    def special = text.findAll(/[$\t\n\r]|\{[^{}]*(?:,|\.\.)[^{}]*\}/)
    if (special) {
        return "contains ${special[0].trim() ?: 'white space other than blanks'}, which Nextflow cannot pass to a task; rename it, or give a link to it"
    }
    def others = text =~ /[*?\[]/ ? [files(text, type: 'any', hidden: true)].flatten().findAll { other -> other.toString() != text } : []
    return others ? "is a pattern that also fits ${others[0].name}, and Nextflow might pass that to a task; rename it, or give a link to it" : null
}

/**
 * Return the samples and the problems of the samplesheet: a list of [meta, path], and one line per problem.
 * If sccr is to fetch what is remote, the path of such a sample is its address as text: Nextflow does not look at it.
 */
def readSamplesheet(path, defaults, fetch) {
    if (!path) {
        return [[], ['--input is missing: give a samplesheet, a CSV file with the columns sample and path']]
    }
    def sheet = named(path.toString())
    if (!sheet.isFile()) {
        return [[], ["--input ${path}: ${sheet.exists() ? 'is a folder, not a CSV file' : 'no such file'}"]]
    }
    def schema = jsonOf('assets/schema_input.json')
    def columns = schema.items.properties
    // Spreadsheet programs put a byte order mark before the first name, and leave blank lines.
    def lines = sheet.splitCsv(strip: true, quote: '"', charset: 'UTF-8')
        .collect { cells -> cells.collect { cell -> cell ? cell.replace('\uFEFF', '').replaceAll('^"|"$', '').trim() : '' } }
        .findAll { cells -> cells.any() }
    def header = lines ? lines[0] : []
    def missing = schema.items.required.findAll { name -> !(name in header) }
    if (missing) {
        return [[], missing.collect { name -> "${sheet.name}: column ${name} is missing (available: ${header.join(', ')})" }]
    }
    header.findAll { name -> !(name in columns.keySet()) }.each { name -> log.warn("${sheet.name}: column ${name} is ignored") }
    def rows = lines.drop(1).collect { cells ->
        [header, cells].transpose().collectEntries { name, value -> [name, columns[name]?.type == 'boolean' ? plainBoolean(value) : value] }
    }
    if (!rows) {
        return [[], ["${sheet.name}: contains no samples"]]
    }
    def problems = rows.withIndex().collectMany { row, index ->
        def place = "${sheet.name}, sample ${row.sample ?: "in row ${index + 1}"}"
        columns.collectMany { name, column ->
            def value = row[name]
            if (!value) {
                return name in schema.items.required ? ["${place}: ${name} is missing"] : []
            }
            def problem = problemWith(value, column)
            if (problem) {
                return ["${place}: ${name} ${value} ${problem}"]
            }
            if (column.exists && !(fetch && isAddress(value))) {
                problem = pathProblem(value, sheet)
            }
            return problem ? ["${place}: ${name} ${value} ${problem}"] : []
        }
    }
    def doubled = rows.collect { row -> row.sample }.countBy { name -> name }.findAll { name, count -> name && count > 1 }
    problems += doubled.collect { name, count -> "${sheet.name}, sample ${name}: ${count} samples have this name" }
    if (problems) {
        return [[], problems]
    }
    def samples = rows.collect { row ->
        def own = [
            batch_col: row.batch_key ?: null,
            imputation: row.imputation ?: null,
            imputed_integration: row.imputed_integration ? row.imputed_integration == 'true' : null
        ]
        def data = fetch && isAddress(row.path) ? row.path : located(row.path, sheet)
        [[id: row.sample] + defaults + own.findAll { _name, value -> value != null }, data]
    }
    return [samples, []]
}

/** Return the problems that arise only from parameters and samples together, one line each. */
def combinationProblems(given, samples, scatter) {
    def methods = samples.collectEntries { meta, _path -> [meta.id, meta.imputation ?: given.imputation] }
    def imputed = samples.findAll { meta, _path -> methods[meta.id] != 'none' }
    def misplaced = schemaProperties()
        .findAll { name, schema -> given[name] != null && schema.methods }
        .collectMany { name, schema ->
            imputed
                .findAll { meta, _path -> !(methods[meta.id] in schema.methods) }
                .collect { meta, _path -> "--${name} requires the imputation ${schema.methods.join(' or ')}: sample ${meta.id} has ${methods[meta.id]}" }
        }
    def scattered = scatter ? imputed.findAll { meta, _path -> meta.batch_col } : []
    def unscatterable = scatter && !scattered ? ['--scatter requires a batch_key (in the samplesheet, or --batch_key): no sample has one'] : []
    def others = scattered
        .findAll { _meta, path -> !(nameOf(path) ==~ /.*\.(?:h5ad|zarr)/) }
        .collect { meta, path -> "sample ${meta.id}: --scatter requires .h5ad or .zarr, not ${nameOf(path)}" }
    // Otherwise every batch would run before sccr gather refuses.
    def incomplete = scattered && given.write in ['recovered', 'embedding']
        ? ["--scatter requires the denoised expression: --write denoised or both, not ${given.write}"]
        : []
    def working = imputed.findAll { meta, _path -> "${meta.imputed_integration != null ? meta.imputed_integration : given.imputed_integration}" == 'true' }
    def without_layer = working && given.write in ['recovered', 'embedding']
        ? ["--imputed_integration requires the denoised expression: --write denoised or both, not ${given.write}"]
        : []
    def results = imputed.collect { meta, _path -> [meta.id, 'imputed'] } + working.collect { meta, _path -> [meta.id, 'working'] }
    return misplaced + unscatterable + others + incomplete + without_layer + replacedInputs(given.outdir, samples, results)
}

/** Return which results, as [sample, kind], would replace the file of a sample when they are published, one line each. */
def replacedInputs(outdir, samples, results) {
    def inputs = samples.findAll { _meta, path -> !(path instanceof CharSequence) && path.scheme == 'file' }.collectEntries { meta, path -> [path.toRealPath(), meta.id] }
    return results.collectMany { sample, kind ->
        ['h5ad', 'zarr']
            .collect { suffix -> named("${outdir}/imputed/${sample}_${kind}.${suffix}") }
            .findAll { target -> target.scheme == 'file' && target.exists() && inputs[target.toRealPath()] }
            .collect { target -> "sample ${sample}: its result would replace ${target}, the input of sample ${inputs[target.toRealPath()]}; give another --outdir, or name the sample otherwise" }
    }
}

/** Report which tasks failed for good, and why, one line each: Nextflow itself only says that it continued. */
def tellFailures(trace) {
    if (!trace.exists()) {
        return
    }
    def last_attempts = trace.splitCsv(header: true, sep: '\t').groupBy { task -> task.name }.values().collect { tasks -> tasks.max { task -> task.attempt as Integer } }
    last_attempts.findAll { task -> task.status == 'FAILED' }.each { task ->
        // What fails outside the command (a container that does not start, say) is only in .command.log.
        def lines = ['.command.err', '.command.log', '.command.out']
            .collect { name -> named("${task.workdir}/${name}") }
            .findAll { said -> said.exists() }
            .collect { said -> said.readLines().findAll { line -> line.trim() } }
            .find { said -> said } ?: []
        log.error("${task.name} failed with exit status ${task.exit}: ${lines ? lines[-1] : 'no message'} (work folder: ${task.workdir})")
    }
}
