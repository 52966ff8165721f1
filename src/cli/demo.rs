//! `demo`: a compound that is simulated on this machine, the real gateway in front of it, and a story told live.
//!
//! Nothing here is a short cut: the gateway runs as `run` runs it, on a site file, over real sockets, a real pty and a
//! real broker; the story believes only what the receiver got and what the store has.

mod case;
mod folder;
mod happenings;
mod setting;
mod stage;
mod story;
mod teller;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use clap::Args;
use tokio::{runtime::Handle, task::JoinSet};
use tokio_util::sync::CancellationToken;

use self::{
    folder::Folder,
    setting::Setting,
    stage::{Missed, Stage},
    teller::{Mark, Teller},
};
use super::{
    exit,
    run::{install_tls, runtime},
};
use crate::{
    app,
    config::{self, Site},
    domain::{Clock, Lang, SystemClock},
    ops::signals::{self, Told},
    say,
    sim::{Compound, Life, Served},
    text,
};

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Tell the story once and end: 0 if every step happened / 讲完即退出
    #[arg(long)]
    once: bool,
    /// Keep the site file and the store here, in a new or empty directory / 保留配置和数据
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// Why the stage is cleared.
enum End {
    Story(anyhow::Result<()>),
    Told(Told),
    Gateway(anyhow::Result<()>),
    Compound(anyhow::Result<()>),
}

impl DemoArgs {
    /// Tells the story; then, unless `--once`, goes on until stopped.
    ///
    /// # Errors
    /// If the stage cannot be set; a story that went wrong is told and is no error but an exit code.
    pub fn run(self, lang: Lang) -> anyhow::Result<u8> {
        install_tls();
        let runtime = runtime()?;
        let code = runtime.block_on(self.play(lang));
        // A look at the store that is still going on does not hold up the end.
        runtime.shutdown_background();
        code
    }

    async fn play(&self, lang: Lang) -> anyhow::Result<u8> {
        // Heard from the first moment on: what is made from here is cleared away.
        let told_to_stop = tokio::spawn(signals::told_to_stop());
        let folder = match self.folder() {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(self.not_empty(lang)),
            folder => folder.context("make a directory for the demo")?,
        };
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let setting = Setting::prepare(folder.path()).await.context("set the stage")?;
        let (site, _warnings) = match config::load(&setting.site_file) {
            Ok(loaded) => loaded,
            Err(problems) => return Ok(super::site::refuse(&problems, lang)),
        };
        let (stop, gateway_stop) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        let stage = raise(setting, &site, Arc::clone(&clock), lang, &mut tasks, &stop)?;
        let mut gateway = tokio::spawn({
            let (rest, stop) = (Handle::current(), gateway_stop.clone());
            async move { app::run(site, clock, &rest, stop).await }
        });
        let end = tokio::select! {
            told = told_to_stop => End::Told(told??),
            ended = &mut gateway => End::Gateway(flatten(ended)),
            Some(served) = tasks.join_next() => End::Compound(flatten(served.map(|served| served.map_err(Into::into)))),
            told = self.tell(&stage) => End::Story(told),
        };
        let running = !matches!(end, End::Gateway(_));
        gateway_stop.cancel();
        let stopped = if running { flatten(gateway.await) } else { Ok(()) };
        stop.cancel();
        tasks.shutdown().await;
        stopped.context("stop the gateway")?;
        conclude(&stage, end, folder)
    }

    fn folder(&self) -> io::Result<Folder> {
        match &self.keep {
            Some(dir) => Folder::keep(dir),
            None => Folder::passing(),
        }
    }

    fn not_empty(&self, lang: Lang) -> u8 {
        let dir = self.keep.as_deref().unwrap_or(Path::new("")).display();
        let said = say!(
            lang,
            "错误：{dir} 里已有文件；请给一个新的或空的目录",
            "error: {dir} is not empty; name a new or an empty directory"
        );
        eprintln!("{said}");
        exit::USAGE
    }

    async fn tell(&self, stage: &Stage) -> anyhow::Result<()> {
        story::whole(stage).await?;
        if self.once {
            return Ok(());
        }
        stage.tell.line(
            Mark::Calm,
            text!(
                "小区继续运行，会有别的小事发生；按 Ctrl-C 结束",
                "the compound goes on, with smaller things happening; Ctrl-C ends it"
            ),
        )?;
        happenings::go_on(stage).await
    }
}

fn flatten<T>(joined: Result<anyhow::Result<T>, tokio::task::JoinError>) -> anyhow::Result<T> {
    joined.map_err(|broken| anyhow!(broken).context("run a part of the demo to its end"))?
}

/// Brings the compound to life behind its lines, and tells of it.
fn raise(
    setting: Setting,
    site: &Site,
    clock: Arc<dyn Clock>,
    lang: Lang,
    tasks: &mut JoinSet<Served>,
    stop: &CancellationToken,
) -> anyhow::Result<Stage> {
    let compound = Compound::serve(&site.devices, setting.lines, Arc::clone(&clock), tasks, stop);
    let compound = Arc::new(compound);
    tasks.spawn(setting.inspector.clone().serve(setting.desk, stop.clone()));
    let life = Life::begin(Arc::clone(&compound), vec![story::LIFT])?;
    let alive = stop.clone();
    tasks.spawn(async move { life.run(alive).await.map_err(io::Error::other) });

    let began = clock.now().wall;
    let tell = Teller::new(lang, site.timezone.clone(), clock);
    tell.heading(text!(
        "演示：一切都是模拟的，没有数据离开本机",
        "demo: everything is simulated, nothing leaves this machine"
    ))?;
    setting.told.into_iter().try_for_each(|line| tell.line(Mark::Calm, line))?;
    Ok(Stage::new(site, tell, compound, setting.inspector, began))
}

/// Clears the stage and tells how it ended; the exit code.
fn conclude(stage: &Stage, end: End, folder: Folder) -> anyhow::Result<u8> {
    let code = match end {
        End::Story(Ok(())) => exit::OK,
        End::Story(Err(error)) => {
            stage.tell.missed(&error.downcast::<Missed>()?)?;
            exit::UNEXPECTED
        }
        End::Told(Told::Terminate) if stage.is_told() => exit::OK,
        End::Told(Told::Terminate | Told::Interrupt) => exit::INTERRUPTED,
        End::Gateway(Ok(())) => return Err(anyhow!("keep the gateway running: it ended by itself")),
        End::Compound(Ok(())) => return Err(anyhow!("keep the compound running: a line of it ended")),
        End::Gateway(Err(error)) => return Err(error.context("keep the gateway running")),
        End::Compound(Err(error)) => return Err(error.context("keep the compound running")),
    };
    let farewell = folder.leave().context("clear the demo's directory")?;
    stage.tell.line(Mark::Calm, farewell)?;
    Ok(code)
}
